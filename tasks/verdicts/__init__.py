"""Verdicts on stored responses: judged, kept beside them, and held against another judge."""
