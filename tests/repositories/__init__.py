"""Tests of the data layer and the migrations, by topic."""
