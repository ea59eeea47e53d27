"""What people read of a count and take along: reports, tables, and the difference between two counts."""
