"""Import mmdet 3 as the package does; the common parts of the backends are tested with it."""

from bdd100k_zoo.backends.mmdet3 import import_backend

import_backend()
