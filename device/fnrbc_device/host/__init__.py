"""The machine beneath: clock, disk, signals, systemd, vitals."""
