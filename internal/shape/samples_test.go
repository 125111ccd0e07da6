package shape_test

// Payloads as providers send them, shortened.
const (
	push = `{
  "ref": "refs/heads/main", "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246", "after": "0000000000000000000000000000000000000000",
  "created": false, "forced": false, "base_ref": null,
  "compare": "https://git.example/octo/hello/compare/6113728f27ae...000000000000",
  "commits": [
    {"id": "c441029cf673f84c8b7db52d0a5944ee5c52ff89", "timestamp": "2026-03-01T17:04:05+01:00", "distinct": true,
     "author": {"name": "Mona", "email": "mona@git.example", "username": "mona"}, "added": [], "modified": ["README.md"]},
    {"id": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c", "timestamp": "2026-03-01T16:04:05Z", "distinct": false,
     "author": {"name": "Hubert", "email": "hubert@git.example"}, "added": ["a.go"], "modified": []}
  ],
  "repository": {"id": 35129377, "node_id": "MDEwOlJlcG9zaXRvcnkzNTEyOTM3Nw==", "private": false, "size": 0, "pushed_at": 1772381045,
    "html_url": "https:\/\/git.example\/octo\/hello", "topics": [], "license": null}
}`

	invoicePaid = `{
  "id": "evt_1NG8Du2eZvKYlo2CUI79vXWy", "object": "event", "api_version": "2026-01-28", "created": 1772381045, "livemode": false,
  "pending_webhooks": 2, "type": "invoice.paid", "request": {"id": null, "idempotency_key": "4b0ea6d0-1ab7-4d1b-9b1e-1f9d0ac1a8f0"},
  "data": {"object": {"id": "in_1MtHbELkdIwHu7ixl4OzzPMv", "amount_paid": 4200, "currency": "eur", "due_date": null, "tax_percent": 19.0,
    "customer_email": "jenny@shop.example", "metadata": {}, "lines": {"data": [
      {"id": "il_1MtHbELkdIwHu7ixFPb2DyDp", "amount": 4200, "quantity": 1, "discounts": []}
    ], "has_more": false}}}
}`

	invoicePaidLater = `{
  "id": "evt_1NG8Du2eZvKYlo2CUI79vXWz", "object": "event", "api_version": "2026-01-28", "created": 1772391045, "livemode": true,
  "pending_webhooks": 1, "type": "invoice.paid", "request": null,
  "data": {"object": {"id": "in_1MtHbELkdIwHu7ixl4OzzPMw", "amount_paid": 9007199254740993, "currency": "eur", "due_date": "2026-04-01", "tax_percent": 7.5,
    "metadata": {"order": "6735"}, "lines": {"data": [
      {"id": "il_1MtHbELkdIwHu7ixFPb2DyDq", "amount": 100, "discounts": [{"coupon": "spring"}]}
    ], "has_more": false}}}
}`

	message = `{
  "token": "z26uFbvR1xHJEdHE1OQiO6t8", "team_id": "T061EG9R6", "api_app_id": "A0MDYCDME", "type": "event_callback",
  "event": {"type": "message", "channel": "C2147483705", "user": "U2147483697", "text": "Hello <@U061F7AUR>", "ts": "1355517523.000005",
    "reactions": {"U061F7AUR": {"name": "tada", "count": 1}, "U2147483697": {"name": "wave", "count": 3}},
    "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "Hi"}}, {"type": "divider"}, {"type": "context", "elements": ["plain", {"type": "image"}]}]},
  "authorizations": [{"enterprise_id": null, "is_bot": true}], "event_time": 1355517523
}`
)
