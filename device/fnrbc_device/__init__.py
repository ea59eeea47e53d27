"""fnrbc on the appliance: sees cells, counts each once, classifies them and publishes live tallies."""

__version__ = "0.1.0"
