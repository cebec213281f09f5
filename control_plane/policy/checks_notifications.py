"""Rules about notifications."""

from control_plane.policy.codes import Code
from control_plane.policy.notifications import OUR_HEADERS, Webhook
from control_plane.policy.reader import BlockRule, Reader


def _one_authorization(webhook: Webhook, path: str, reader: Reader) -> None:
    if webhook.bearer_token_file and "authorization" in webhook.headers:
        message = "`bearerTokenFile` and the header `authorization` say the same in two ways"
        reader.report_at(f"{path}.headers.authorization", Code.EXCLUSIVE_KEYS, message, "keep one of them")


def _authorities_without_tls(webhook: Webhook, path: str, reader: Reader) -> None:
    if webhook.ca_certificates and webhook.url.startswith("http:"):
        message = "`caCertificates` does nothing: the URL is plain http"
        reader.report_at(f"{path}.caCertificates", Code.NO_EFFECT, message, "remove it, or use https")


def _headers_of_ours(webhook: Webhook, path: str, reader: Reader) -> None:
    ours = [name for name in webhook.headers if name in OUR_HEADERS]
    reader.report_idle(f"{path}.headers", ours, "the request has its own `{key}`: this one does nothing")


NOTIFICATION_RULES: dict[type, tuple[BlockRule, ...]] = {
    Webhook: (_one_authorization, _authorities_without_tls, _headers_of_ours)
}
