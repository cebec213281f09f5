"""The fast loop: Envoy asks by ext_proc, the picker names the pod. Imports nothing from `control_plane`."""
