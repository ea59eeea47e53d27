"""What MQTT promises: topics, payloads, commands, replies, and the AsyncAPI document of them all."""
