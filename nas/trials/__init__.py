"""Trainings on Ray Tune: what is proposed, where it runs, when it is stopped, what a trial does."""
