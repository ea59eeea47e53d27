"""Telling the lab: payloads, the outbox that loses nothing, and MQTT 5."""
