"""Evaluation: does a debate help, at what cost, and how sure is that?"""
