"""MLflow: sweeps as runs that can be compared, and the registered estimators.

Nothing else imports MLflow, and no Ray worker imports this.
"""
