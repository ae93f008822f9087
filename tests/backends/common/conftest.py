"""mmdet 3, imported as the package imports it: what both backends share is tested with it."""

from bdd100k_zoo.backends.mmdet3 import import_backend

import_backend()
