"""Tests of the compiler: policy and fleet to Envoy resources."""
