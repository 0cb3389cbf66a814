"""What to annotate next: frames that the model doubts and that differ from each other, with its joints to correct.

:mod:`looks` asks the pose net the same question in several ways, :mod:`doubt` turns the answers into one number,
:mod:`describe` says what a frame looks like, :mod:`advice` how much its kind is wanted, :mod:`choose` picks, and
:mod:`write` hands the picks to an annotation tool. :mod:`run` does all of it for a folder of videos.
"""
