"""What a search does behind its plan, stage by stage.

sequence            all stages in their order
session             what the stages of one session share
confirm             which networks of the front are trained again, in which order
baseline_trainings  which published networks are trained beside the pick, and how large
measuring           latency tables before a search, and its front measured afterwards
"""
