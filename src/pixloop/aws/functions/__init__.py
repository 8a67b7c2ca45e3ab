"""The code of the Lambda functions, a module each, with a function ``handler(event, context)``.

A function's package holds its module and what that imports from pixloop, which must be small:
the standard library and boto3, which Lambda brings along, are all that these modules may import
from elsewhere.
"""
