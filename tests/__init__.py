"""Tests of Ullage; the folder is a package so that they can share questions and rows."""
