"""The tests of jaxinterp."""
