"""What a process that serves for long does about its memory, once it is set up."""

import gc

#: Objects that are made between two looks for garbage.  What a session is made of goes
#: without one, for it is in no cycle once the session is over.
THRESHOLDS = (50_000, 20, 50)


def settle() -> None:
    """
    Leave what there is out of all later looks for garbage.  To do it again looks at what was
    left out before, too.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def give_back() -> None:
    """
    Give memory back that is no longer used.

    The interpreter gets it in large pieces, and gives one back when nothing is left in it.
    What stays behind when many sessions end are blocks that it keeps to use again, here and
    there in every piece; a full look for garbage gives up those too.
    """
    gc.collect()
