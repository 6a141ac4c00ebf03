"""What trained networks are worth beside each other, in plain numbers.

ranking  which of them are the front, by means over seeds, and how sure an accuracy is
picks    which networks of a front are meant by a word such as `knee`
control  random search beside the search, and what the two are compared by
"""
