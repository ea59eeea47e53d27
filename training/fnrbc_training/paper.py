"""What the paper states, where it contradicts itself, and how ours differs: data for the comparison's report.

C. Sun et al., "A computer-aided diagnosis system of fetal nucleated red blood cells with convolutional neural network",
Arch Pathol Lab Med 146(11), 2022, 1395-1401, doi:10.5858/arpa.2021-0142-OA.
"""

from typing import Final

FIGURES: Final = {"accuracy": "98.5 %", "sensitivity": "96.5 %", "specificity": "100 % (and 98.5 %)"}
"""Of Net2 with augmentation, on the 130 test pictures, which augmentation made 1,040."""

DIFFERENCES: Final = (
    "The figures cannot be held against each other: other cells, another stain, other donors. What compares is "
    "the networks with each other, within one column.",
    "Stain: the paper's cells are formalin-fixed, embedded and stained with haematoxylin and eosin; these are the"
    " stains named above.",
    "Cells: the paper's fNRBC come from four umbilical cords, enriched by density gradient and magnetic sorting. "
    "Ours are nucleated red cells that are not stated to be fetal, and the negatives are leukocytes and platelets"
    " of ordinary smears.",
    "Donors: the paper does not say whether a donor is on both sides of its split. Ours is by group; without "
    "donor ids contiguous blocks of file numbers are the best there is.",
    "Training and test pictures: the paper's 3,720 and 1,040 are 8 times 465 and 8 times 130. We measure every "
    "held-out cell once, as it is.",
    "Crops: all that is further than 3 um from the nucleus is replaced here, since the background tells the class.",
    "The head, the loss and the number of steps are ours, for the paper does not give them.",
)

INCONSISTENCIES: Final = (
    "A split of 7:3 is printed, but 465 and 130 pictures are 78:22. We take the numbers: 465 and 130.",
    "Specificity is 100 % in one place and 98.5 % in another. Both are shown.",
    "With as many positives as negatives, a sensitivity of 96.5 % and a specificity of 100 % give an accuracy of "
    "98.25 %, and with 98.5 % one of 97.5 %; 98.5 % is printed. All our figures come from one table of decisions.",
    "The threshold is printed as T = (locs(x) + (256 - locs(x))) / 3.06, which is 83.7 whatever the picture. We "
    "use what the text describes, T = locs(x) + (256 - locs(x)) / 3.06.",
    "Test pictures were augmented too: 1,040 turned and mirrored copies are no more evidence than 130, and an "
    "interval over them is too narrow by a factor of about 2.8. We augment the training part alone, after the "
    "split.",
)
