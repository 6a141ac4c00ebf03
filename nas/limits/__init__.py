"""What a network costs against what is allowed: budgets, priced candidates, what a space has inside
a limit.
"""
