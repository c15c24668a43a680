"""Self-Supervised Positive Sampling (SSPS) for SpeechBrain."""
