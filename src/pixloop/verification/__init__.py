"""Whether a deployment answers as the certificate of its version says."""
