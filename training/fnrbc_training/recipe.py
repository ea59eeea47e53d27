"""What a training depends on beside its data."""

from dataclasses import dataclass

from fnrbc_training.augmentation import Augmentation
from fnrbc_training.pnet import NetName, Normalisation


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe, one data set and one number of processes give one network."""

    net: NetName
    epochs: int
    augmentation: Augmentation
    seed: int
    normalisation: Normalisation = "none"
