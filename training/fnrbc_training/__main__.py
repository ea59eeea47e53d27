"""``python -m fnrbc_training``: what ``torchrun`` starts several times over."""

from fnrbc_training.cli import main

main()
