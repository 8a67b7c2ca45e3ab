"""What asks the deployed model: for the queue, the workflow and the command line."""
