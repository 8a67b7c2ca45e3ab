"""What runs the definition on SageMaker: submitted, followed, summed up, registered."""
