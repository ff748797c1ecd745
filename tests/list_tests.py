"""Prints the tests of a file as ctest is to run them, one by one: Class.test, those that a class inherits too."""

import importlib.util
import os
import sys
import unittest

path = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.dirname(path))
spec = importlib.util.spec_from_file_location("tests", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for name, value in vars(module).items():
    if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == "tests":
        for test in unittest.defaultTestLoader.getTestCaseNames(value):
            print(f"{name}.{test}")
