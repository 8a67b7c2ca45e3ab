"""Rekognition Custom Labels as a managed trainer: the same data set, answers in the same form."""
