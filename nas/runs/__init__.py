"""A search from its plan to its folder.

Here:

    search     `nas.search` and its resumption
    options    their names and types, for type checkers and editors
    settings   what a search can be asked for: the one list of options, arguments and their help
    checks     what is wrong with settings by themselves, found before anything heavy is loaded

and the rooms, in the order of their imports:

    selection  which networks are the front and the picks, and whether random search did as well
    folder     the files that a search writes, and what is read of them: `nas.Run`
    planning   what is decided before anything is trained
    progress   what a search shows while it trains
    stages     search, confirmation, random control, published networks, measurement

Proposing and training single networks is `nas.trials`; what is inside a budget is `nas.limits`; how
a run is drawn is `nas.report`.
"""
