"""What a connection to a pod needs; how contexts are made is tested where they are made."""

from ext_proc.signals.pod_tls import PodTls, plaintext


def test_without_a_word_there_is_no_tls() -> None:
    """The default is plain HTTP for every pool, and no server name is asked for."""
    assert plaintext("chat") is None
    assert PodTls(context=None).server_name == ""
