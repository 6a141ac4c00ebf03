"""Labelled clips: where they come from, which split they are in, and how they become pixels.

    arrays      source: an `.npz` file of clips and labels; files of one clip
    kinds       which files and folders are clips
    packets     what the packets of a video file say of its frames before any is decoded
    pictures    decoded frames to pixels of a clip
    sampling    which frames, at which size, make a clip: the request that a split answers
    source      what a data source implements, and the data set that it gives
    motion      source: the embedded task, drawn by formula
    folders     source: a folder per class, or `train` and `val` folders of them
    lists       source: CSV files and lists of paths and labels
    records     videos with labels to a data set: each file once, splits that are checked
    oddities    what a user would not expect of labels
    assignment  which clips or groups are held out (arrays in, arrays out)
    datasets    the registry of sources and `open_data`
    clips       decodes a split into memory
    cache       decoded clips kept in files
    check       what a data set holds and what is wrong with it
    doubts      what makes the accuracies of a data set doubtful
    duplicates  files of equal content
    contact_sheet  a picture of a data set
    sample      a small data set of files, to try the commands on
    unreadable  clips that cannot be read: how many a run bears, and their list
    video       decodes one file
    stills      decodes pictures, a folder of which is a clip
    preprocessing  which frames, at which size and scale: stored with a network's weights
    transforms  augmentation and normalisation of batches

These are many files, because each kind of data and each step to pixels is one.

What knows of networks, trainings or runs does not belong here.
"""
