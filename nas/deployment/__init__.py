"""Files in which a network leaves this package.

    standalone  one Python file that needs torch alone
    sources     definitions cut out of this package's sources, with all that they use
    shipped     what standalone files hold beside the layers

What reads such files is the user's; nothing here loads one that it did not write itself.
"""
