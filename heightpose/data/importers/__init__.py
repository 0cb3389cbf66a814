"""Other people's label formats read into our data set form, one small module per format.

Each format's ``read`` yields :class:`~heightpose.data.importers.labels.Labelled` pictures in that format's own
pixels; :mod:`heightpose.data.importers.run` looks at the pictures, moves the pixels and writes the set.
"""
