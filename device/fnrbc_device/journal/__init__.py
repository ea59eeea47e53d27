"""The record on disk: one SQLite file that holds the ledger, the audit chain and the outbox."""
