"""Trainings on Ray: trials of a search, what is proposed, where it runs, when it is stopped, what a
trial does; and one training in several processes.
"""
