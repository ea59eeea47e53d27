"""The footswitch, the lamp and the buzzer beside the microscope."""
