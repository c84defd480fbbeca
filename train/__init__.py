"""Manifest and images to latents and adapters. Imports schemas and taggers, never prep."""
