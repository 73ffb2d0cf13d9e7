"""What the names of a label table tell: a side that mirroring must spare."""

import pytest

from crgloco.labels import LabelTable
from crgloco.training.fine_tune import flip_axes

LEFT_RIGHT = 2


def axes(*names: str) -> tuple[int, ...]:
    return flip_axes(LabelTable.from_names({name: value for value, name in enumerate(names, 1)}))


@pytest.mark.parametrize(
    "pair",
    [
        ("left_kidney", "right_kidney"),
        ("Kidney left", "Kidney right"),
        ("KIDNEY-LEFT", "KIDNEY-RIGHT"),
        ("Kidney_L", "Kidney_R"),
        ("L kidney", "R kidney"),
        ("kidney (l)", "kidney (r)"),
        ("Rib_L_1", "Rib_R_1"),
        ("leftKidney", "rightKidney"),
        ("kidneyLeft", "kidneyRight"),
        ("LKidney", "RKidney"),
        ("kidneyL", "kidneyR"),
        ("lt kidney", "rt kidney"),
        ("Kidney Lt.", "Kidney Rt."),
        ("Niere links", "Niere rechts"),
        ("linke Niere", "rechte Niere"),
        ("linker Lungenflügel", "rechter Lungenflügel"),
        ("Arterie der linken Niere", "Arterie der rechten Niere"),
        ("linkes Auge", "rechtes Auge"),
        ("rein gauche", "rein droit"),
        ("oreillette gauche", "oreillette droite"),
        ("riñón izquierdo", "riñón derecho"),
        ("aurícula izquierda", "aurícula derecha"),
        ("mama sinistra", "mama destra"),
        ("rene sinistro", "rene destro"),
        ("ren sinister", "ren dexter"),
        ("Mamma sinistra", "Mamma dextra"),
    ],
)
def test_left_right_is_spared_where_labels_name_a_side(pair: tuple[str, str]) -> None:
    assert LEFT_RIGHT not in axes("spine", *pair)
    for alone in pair:
        assert LEFT_RIGHT not in axes(alone, "spine")


@pytest.mark.parametrize(
    "name",
    [
        *("liver", "spleen", "kidneys", "heart", "aorta", "artery", "tumour", "T12", "L5", "vertebrae_L5"),
        *("R1", "bright spot", "leftover", "upright", "LNs", "lungs", "large", "small", "recto", "structure"),
        *("l'aorte", "l’estomac", "Recht", "linkage", "alt", "cortex", "MRImage", "ventricle", "destroyed"),
        *("Lunge", "Leber", "Lymphknoten", "rate", "droplet", "PelvicRing"),
    ],
)
def test_ordinary_words_name_no_side(name: str) -> None:
    assert axes(name) == (0, 1, LEFT_RIGHT)
