"""What operators are told when something goes wrong, once, and when it is over.

    conditions → Board (what is open) → Outbox of each webhook (what it is still to hear) → Webhook (HTTP)

All but `webhook` is pure. `docs/notifications.md` says what there is.
"""
