"""fnrbc on the appliance: sees cells, counts each once, classifies them and publishes live tallies."""

import os

# From 1.29 on onnxruntime looks up its maker's host and keeps facts about the device in the home folder, unless this
# stands before it is first imported. Nothing leaves this machine that nobody chose to send.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.2.0.dev0"
