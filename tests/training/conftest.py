"""mmdet 3, imported as the package imports it, before the tests import mmdet."""

from bdd100k_zoo.backends.mmdet3 import import_backend

import_backend()
