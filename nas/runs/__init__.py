"""A search from its plan to its folder.

    search         `nas.search` and its resumption
    options        their names and types, for type checkers and editors
    settings       what a search can be asked for: the one list of options, arguments and their help
    checks         what is wrong with settings by themselves, found before anything heavy is loaded
    plan           what is decided before anything is trained
    effort         what of a proxy the time allows, from the pace of the device
    pace           how fast the device trains, timed before a search
    shares         how a limited time is divided among the stages
    stages         search, random control, confirmation, published networks, measurement
    session        what the stages of one session share
    confirm        which networks of the front are trained again, in which order
    baseline_trainings  which published networks are trained beside the pick, and how large
    control        random search beside the search, and what the two are compared by
    measuring      latency tables before a search, and its front measured afterwards
    ranking        which trained networks are the front, by means over seeds
    importance     which choices of a space matter, by PED-ANOVA
    record         `run.json`, typed
    journal        what a report reads of the journal
    standing       where a search stands while it goes on
    tables         the CSV tables of a run folder
    confirmations  `confirm.csv`, written row by row
    baselines      `baselines.csv`, written row by row, and what it comes to
    measurements   `measurements.jsonl`, written row by row
    picks          which networks of a run its picks mean
    export         the architecture file of a pick, with its provenance
    folder         what one search wrote, as a whole: `nas.Run`
    consistency    whether the files of a run agree with each other
    progress       what a search shows while it trains
    news           lines, events and signs of life

Proposing and training single networks is `nas.trials`; what is inside a budget is `nas.limits`; how
a run is drawn is `nas.report`. Thirty files, because a run is one folder with one life.
"""
