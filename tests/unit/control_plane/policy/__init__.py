"""Tests of the policy file: values, declarations, loading, findings."""
