package webhook_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

const (
	objectBody = `{"id":"evt_1","type":"invoice.paid","data":{"id":"obj_1"}}`
	snsBody    = `{"Type":"Notification","MessageId":"m-1","TopicArn":"arn:aws:sns:us-east-1:1:t","Message":"hi\nthere","Subject":"s",` +
		`"SignatureVersion":"2","SigningCertURL":"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"}`
	adyenBody = `{"live":"false","notificationItems":[{"NotificationRequestItem":{"pspReference":"7914073381342284","originalReference":"",` +
		`"merchantAccountCode":"TestMerchant","merchantReference":"TestPayment-1407325143704","amount":{"value":1130,"currency":"EUR"},` +
		`"eventCode":"AUTHORISATION","success":"true","eventDate":"2026-03-14T15:09:26+00:00","additionalData":{"hmacSignature":"SIGNATURE"}}}]}`
)

// samples are senders of every preset.
func samples() []*sample {
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	x := func(eventType, key, ordering string, occurred ...time.Time) webhook.Extracted {
		e := webhook.Extracted{Type: eventType, DedupeKey: key, OrderingKey: ordering}
		if len(occurred) > 0 {
			e.OccurredAt = occurred[0]
		}
		return e
	}
	all := []*sample{
		{provider: "standard-webhooks", sign: standard("webhook"), header: "webhook-signature", others: []string{"webhook-id", "webhook-timestamp"}, tolerance: minutes(5), want: x("invoice.paid", "msg_1", "")},
		{provider: "svix", sign: standard("svix"), header: "svix-signature", others: []string{"svix-id", "svix-timestamp"}, tolerance: minutes(5), want: x("invoice.paid", "msg_1", "")},
		{provider: "resend", sign: standard("svix"), header: "svix-signature", others: []string{"svix-id", "svix-timestamp"}, tolerance: minutes(5), body: `{"type":"email.sent","created_at":"2026-03-14T15:09:26Z","data":{"email_id":"e1"}}`, want: x("email.sent", "msg_1", "e1", now)},
		{provider: "openai", sign: standard("webhook"), header: "webhook-signature", others: []string{"webhook-id"}, tolerance: minutes(5), body: `{"type":"response.completed","created_at":1773500966,"data":{"id":"r1"}}`, want: x("response.completed", "msg_1", "r1", now)},
		{provider: "gitlab-signing-token", sign: func(s *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			header, body := standard("webhook")(s, wrong, at, body)
			header.Set("X-Gitlab-Event", "Push Hook")
			return header, body
		}, header: "webhook-signature", others: []string{"webhook-timestamp"}, tolerance: minutes(5), body: `{"project":{"path_with_namespace":"a/b"}}`, want: x("Push Hook", "msg_1", "a/b")},
		{provider: "standard-webhooks-v1a", secrets: []string{}, config: map[string]any{"publicKey": "whpk_" + base64.StdEncoding.EncodeToString(ours().edPub)}, sign: func(_ *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			mac := ed25519.Sign(keysOf(wrong).ed, []byte("msg_1."+seconds(at)+"."+body))
			return h("webhook-id", "msg_1", "webhook-timestamp", seconds(at), "webhook-signature", "v1,AAAA v1a,"+base64.StdEncoding.EncodeToString(mac)), body
		}, header: "webhook-signature", others: []string{"webhook-id", "webhook-timestamp"}, tolerance: minutes(5), want: x("invoice.paid", "msg_1", "")},

		{provider: "github", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("X-Hub-Signature-256", "sha256="+hexSHA256(s.key(wrong), body), "X-GitHub-Event", "issues", "X-GitHub-Delivery", "d1"), body
		}, header: "X-Hub-Signature-256", hex: true, body: `{"action":"opened","repository":{"full_name":"a/b"}}`, want: x("issues.opened", "d1", "a/b")},
		{provider: "gitlab", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("X-Gitlab-Token", s.key(wrong), "X-Gitlab-Event", "Push Hook", "X-Gitlab-Event-UUID", "u1"), body
		}, header: "X-Gitlab-Token", open: true, want: x("Push Hook", "u1", "")},
		{provider: "bitbucket", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("X-Hub-Signature", "sha256="+hexSHA256(s.key(wrong), body), "X-Event-Key", "repo:push", "X-Request-UUID", "u1"), body
		}, header: "X-Hub-Signature", hex: true, want: x("repo:push", "u1", "")},
		{provider: "linear", sign: func(s *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			body = set(body, []string{"webhookTimestamp"}, at.UnixMilli())
			return h("Linear-Signature", hexSHA256(s.key(wrong), body), "Linear-Delivery", "d1", "Linear-Event", "Issue"), body
		}, header: "Linear-Signature", hex: true, tolerance: time.Minute, body: `{"action":"create","type":"Issue","createdAt":"2026-03-14T15:09:26Z","data":{"id":"i1"}}`, want: x("Issue.create", "d1", "i1", now)},
		{provider: "notion", sign: hexBody("X-Notion-Signature", "sha256="), header: "X-Notion-Signature", hex: true, body: `{"id":"n1","type":"page.created","timestamp":"2026-03-14T15:09:26Z","entity":{"id":"p1"}}`, want: x("page.created", "n1", "p1", now)},
		{provider: "trello", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("X-Trello-Webhook", b64SHA1(s.key(wrong), body+publicURL+s.path())), body
		}, header: "X-Trello-Webhook", target: "/in/acme?a=%20b", body: `{"action":{"id":"a1","type":"createCard","date":"2026-03-14T15:09:26.000Z"},"model":{"id":"m1"}}`, want: x("createCard", "a1", "m1", now)},
		{provider: "workos", sign: paired("WorkOS-Signature", "t=%s, v1=%s", ".", millis), header: "WorkOS-Signature", hex: true, tolerance: minutes(3), body: `{"id":"e1","event":"user.created","created_at":"2026-03-14T15:09:26.000Z","data":{"id":"u1"}}`, want: x("user.created", "e1", "u1", now)},
		{provider: "okta", secrets: []string{}, config: map[string]any{"authHeader": "X-Hook", "authSecret": testSecret}, sign: func(_ *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			if wrong {
				return h("X-Hook", otherSecret), body
			}
			return h("X-Hook", testSecret), body
		}, header: "X-Hook", open: true, body: `{"eventTime":"2026-03-14T15:09:26Z","data":{"events":[{"uuid":"u1","eventType":"user.lifecycle.create"}]}}`, want: x("user.lifecycle.create", "u1", "", now)},

		{provider: "stripe", sign: paired("Stripe-Signature", "t=%s,v1=%s,v0=00", ".", seconds), header: "Stripe-Signature", hex: true, tolerance: minutes(5), body: `{"id":"evt_1","type":"invoice.paid","created":1773500966,"data":{"object":{"id":"in_1"}}}`, want: x("invoice.paid", "evt_1", "in_1", now)},
		{provider: "shopify", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("X-Shopify-Hmac-Sha256", b64SHA256(s.key(wrong), body), "X-Shopify-Topic", "orders/create", "X-Shopify-Event-Id", "e1", "X-Shopify-Triggered-At", "2026-03-14T15:09:26Z"), body
		}, header: "X-Shopify-Hmac-Sha256", body: `{"admin_graphql_api_id":"gid://1"}`, want: x("orders/create", "e1", "gid://1", now)},
		{provider: "shopify", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("Shopify-Hmac-Sha256", b64SHA256(s.key(wrong), body), "Shopify-Topic", "Product", "Shopify-Webhook-Id", "w1", "Shopify-Event-Id", "e1", "Shopify-Resource-Id", "gid://1", "Shopify-Triggered-At", "2026-03-14T15:09:26Z"), body
		}, header: "Shopify-Hmac-Sha256", want: x("Product", "w1", "gid://1", now)},
		{provider: "paypal", secrets: []string{}, config: map[string]any{"webhookId": "WH-1", "signingCertPem": ours().pem}, sign: signPayPal, header: "PAYPAL-TRANSMISSION-SIG", others: []string{"PAYPAL-TRANSMISSION-ID", "PAYPAL-TRANSMISSION-TIME", "PAYPAL-CERT-URL", "PAYPAL-AUTH-ALGO"}, body: `{"id":"WH-E1","event_type":"PAYMENT.SALE.COMPLETED","create_time":"2026-03-14T15:09:26Z","resource":{"id":"r1"}}`, want: x("PAYMENT.SALE.COMPLETED", "WH-E1", "r1", now)},
		{provider: "square", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("x-square-hmacsha256-signature", b64SHA256(s.key(wrong), publicURL+s.path()+body)), body
		}, header: "x-square-hmacsha256-signature", body: `{"event_id":"e1","type":"payment.created","created_at":"2026-03-14T15:09:26Z","data":{"id":"p1"}}`, want: x("payment.created", "e1", "p1", now)},
		{provider: "adyen", secrets: []string{adyenSecret}, sign: signAdyen, open: true, json: true, body: adyenBody, want: x("AUTHORISATION", "7914073381342284:AUTHORISATION:true", "7914073381342284", now)},
		{provider: "adyen-platforms", secrets: []string{adyenSecret}, sign: func(_ *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			key := must(hex.DecodeString(adyenSecret))
			if wrong {
				key = []byte("wrong")
			}
			return h("HmacSignature", base64.StdEncoding.EncodeToString(macOf(sha256.New, key, body)), "Protocol", "HmacSHA256"), body
		}, header: "HmacSignature", body: `{"type":"balancePlatform.transfer.updated","data":{"id":"t1"},"timestamp":"2026-03-14T15:09:26Z"}`, want: x("balancePlatform.transfer.updated", "t1:balancePlatform.transfer.updated:2026-03-14T15:09:26Z", "t1", now)},
		{provider: "mollie-nextgen", sign: hexBody("X-Mollie-Signature", "sha256="), header: "X-Mollie-Signature", hex: true, body: `{"id":"event_1","type":"payment-link.paid","entityId":"pl_1","createdAt":"2026-03-14T15:09:26.0Z"}`, want: x("payment-link.paid", "event_1", "pl_1", now)},
		{provider: "paddle", sign: paired("Paddle-Signature", "ts=%s;h1=%s", ":", seconds), header: "Paddle-Signature", hex: true, tolerance: minutes(5), body: `{"event_id":"e1","event_type":"transaction.paid","occurred_at":"2026-03-14T15:09:26Z","data":{"id":"t1"}}`, want: x("transaction.paid", "e1", "t1", now)},
		{provider: "lemon-squeezy", sign: hexBody("X-Signature", ""), header: "X-Signature", hex: true, body: `{"meta":{"event_name":"order_created"},"data":{"id":"1"}}`, want: x("order_created", "*", "1")},
		{provider: "coinbase-commerce", sign: hexBody("X-CC-Webhook-Signature", ""), header: "X-CC-Webhook-Signature", hex: true, body: `{"event":{"id":"e1","type":"charge:confirmed","created_at":"2026-03-14T15:09:26Z","data":{"id":"c1"}}}`, want: x("charge:confirmed", "e1", "c1", now)},
		{provider: "plaid", secrets: []string{}, config: map[string]any{"jwk": ours().jwk}, sign: func(_ *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			return h("Plaid-Verification", jwt(wrong, map[string]any{"alg": "ES256", "kid": "key-1", "typ": "JWT"}, plaidClaims(at, body))), body
		}, header: "Plaid-Verification", tolerance: minutes(5), body: `{"webhook_type":"ITEM","webhook_code":"ERROR","item_id":"i1"}`, want: x("ITEM.ERROR", "*", "i1")},
		{provider: "gocardless", sign: hexBody("Webhook-Signature", ""), header: "Webhook-Signature", hex: true, body: `{"events":[{"id":"EV1","resource_type":"payments","action":"confirmed","created_at":"2026-03-14T15:09:26.000Z"}]}`, want: x("payments.confirmed", "EV1", "", now)},
		{provider: "razorpay", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("X-Razorpay-Signature", hexSHA256(s.key(wrong), body), "x-razorpay-event-id", "e1"), body
		}, header: "X-Razorpay-Signature", hex: true, body: `{"event":"payment.captured","created_at":1773500966,"payload":{"payment":{"entity":{"id":"pay_1"}}}}`, want: x("payment.captured", "e1", "pay_1", now)},
		{provider: "xero", sign: base64Body("x-xero-signature", ""), header: "x-xero-signature", body: `{"events":[{"resourceId":"r1","eventDateUtc":"2026-03-14T15:09:26.000","eventCategory":"INVOICE","eventType":"UPDATE"}]}`, want: x("INVOICE.UPDATE", "r1:2026-03-14T15:09:26.000:INVOICE:UPDATE", "", now)},

		{provider: "slack", sign: versionZero("X-Slack-Signature", "X-Slack-Request-Timestamp"), header: "X-Slack-Signature", others: []string{"X-Slack-Request-Timestamp"}, hex: true, tolerance: minutes(5), body: `{"type":"event_callback","event_id":"Ev1","event_time":1773500966,"event":{"type":"message","channel":"C1"}}`, want: x("message", "Ev1", "C1", now)},
		{provider: "twilio", sign: signTwilioForm, header: "X-Twilio-Signature", target: "/in/acme?x=1", body: "SmsSid=SM1&MessageStatus=sent&MessageSid=SM1&Body=a%20b%26c", want: x("sent", "tok_1", "SM1")},
		{provider: "twilio-json", target: twilioJSONTarget(`{"EventType":"onMessageAdded","DateCreated":"2026-03-14T15:09:26Z"}`), sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("X-Twilio-Signature", b64SHA1(s.key(wrong), publicURL+s.path()), "I-Twilio-Idempotency-Token", "tok_1"), body
		}, header: "X-Twilio-Signature", body: `{"EventType":"onMessageAdded","DateCreated":"2026-03-14T15:09:26Z"}`, want: x("onMessageAdded", "tok_1", "", now)},
		{provider: "sendgrid", secrets: []string{}, config: map[string]any{"publicKey": ours().spki}, sign: func(_ *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			digest := sha256.Sum256([]byte(seconds(at) + body))
			mac := must(ecdsa.SignASN1(rand.Reader, keysOf(wrong).ec, digest[:]))
			return h("X-Twilio-Email-Event-Webhook-Signature", base64.StdEncoding.EncodeToString(mac), "X-Twilio-Email-Event-Webhook-Timestamp", seconds(at)), body
		}, header: "X-Twilio-Email-Event-Webhook-Signature", others: []string{"X-Twilio-Email-Event-Webhook-Timestamp"}, tolerance: minutes(10), body: `[{"sg_event_id":"e1","event":"delivered","timestamp":1773500966,"sg_message_id":"m1"}]`, want: x("delivered", "e1", "m1", now)},
		{provider: "mailgun", sign: func(s *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			token := hex.EncodeToString(must(readRandom(25)))
			return h(), set(body, []string{"signature"}, map[string]any{"timestamp": seconds(at), "token": token, "signature": hexSHA256(s.key(wrong), seconds(at)+token)})
		}, open: true, json: true, tolerance: minutes(5), body: `{"event-data":{"id":"e1","event":"opened","timestamp":1773500966.5}}`, want: x("opened", "e1", "", now.Add(500*time.Millisecond))},
		{provider: "postmark", secrets: []string{}, config: map[string]any{"username": "acme", "password": testSecret}, sign: func(_ *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			password := testSecret
			if wrong {
				password = otherSecret
			}
			return h("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("acme:"+password))), body
		}, header: "Authorization", open: true, body: `{"RecordType":"Delivery","MessageID":"m1","DeliveredAt":"2026-03-14T15:09:26Z"}`, want: x("Delivery", "m1:Delivery:2026-03-14T15:09:26Z", "m1", now)},
		{provider: "zoom", sign: versionZero("x-zm-signature", "x-zm-request-timestamp"), header: "x-zm-signature", others: []string{"x-zm-request-timestamp"}, hex: true, tolerance: minutes(5), body: `{"event":"meeting.started","event_ts":1773500966000,"payload":{"object":{"uuid":"u1"}}}`, want: x("meeting.started", "*", "u1", now)},
		{provider: "discord", secrets: []string{}, config: map[string]any{"publicKey": hex.EncodeToString(ours().edPub)}, sign: func(_ *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			return h("X-Signature-Ed25519", hex.EncodeToString(ed25519.Sign(keysOf(wrong).ed, []byte(seconds(at)+body))), "X-Signature-Timestamp", seconds(at)), body
		}, header: "X-Signature-Ed25519", others: []string{"X-Signature-Timestamp"}, hex: true, body: `{"id":"i1","type":2,"channel_id":"c1"}`, want: x("2", "i1", "c1")},
		{provider: "meta", config: map[string]any{"verifyToken": "vt"}, sign: hexBody("X-Hub-Signature-256", "sha256="), header: "X-Hub-Signature-256", hex: true, body: `{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"messages":[{"id":"wamid.1","from":"49","timestamp":"1773500966"}]}}]}]}`, want: x("messages", "wamid.1", "49", now)},
		{provider: "intercom", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("X-Hub-Signature", "sha1="+hex.EncodeToString(macOf(sha1.New, []byte(s.key(wrong)), body))), body
		}, header: "X-Hub-Signature", hex: true, body: `{"id":"notif_1","topic":"user.created","created_at":1773500966}`, want: x("user.created", "notif_1", "", now)},
		{provider: "telegram", sign: static("X-Telegram-Bot-Api-Secret-Token"), header: "X-Telegram-Bot-Api-Secret-Token", open: true, body: `{"update_id":7,"message":{"date":1773500966,"chat":{"id":-5}}}`, want: x("message", "7", "-5", now)},
		{provider: "line", sign: base64Body("X-Line-Signature", ""), header: "X-Line-Signature", body: `{"events":[{"type":"message","webhookEventId":"w1","timestamp":1773500966000,"source":{"userId":"u1"}}]}`, want: x("message", "w1", "u1", now)},

		{provider: "hubspot", target: "/in/acme?a=b%2Fc%20d", sign: func(s *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			return h("X-HubSpot-Signature-v3", b64SHA256(s.key(wrong), "POST"+publicURL+"/in/acme?a=b/c%20d"+body+millis(at)), "X-HubSpot-Request-Timestamp", millis(at)), body
		}, header: "X-HubSpot-Signature-v3", others: []string{"X-HubSpot-Request-Timestamp"}, tolerance: minutes(5), body: `[{"eventId":1,"subscriptionId":2,"occurredAt":1773500966000,"subscriptionType":"contact.creation","objectId":3}]`, want: x("contact.creation", "1:2:1773500966000", "3", now)},
		{provider: "zendesk", sign: func(s *sample, wrong bool, at time.Time, body string) (http.Header, string) {
			stamp := at.Format(time.RFC3339)
			return h("X-Zendesk-Webhook-Signature", b64SHA256(s.key(wrong), stamp+body), "X-Zendesk-Webhook-Signature-Timestamp", stamp), body
		}, header: "X-Zendesk-Webhook-Signature", others: []string{"X-Zendesk-Webhook-Signature-Timestamp"}, tolerance: minutes(5), body: `{"id":"z1","type":"zen:event-type:user.created","time":"2026-03-14T15:09:26Z","subject":"zen:user:1"}`, want: x("zen:event-type:user.created", "z1", "zen:user:1", now)},
		{provider: "typeform", sign: base64Body("Typeform-Signature", "sha256="), header: "Typeform-Signature", body: `{"event_id":"t1","event_type":"form_response","form_response":{"submitted_at":"2026-03-14T15:09:26Z"}}`, want: x("form_response", "t1", "", now)},
		{provider: "calendly", sign: paired("Calendly-Webhook-Signature", "t=%s,v1=%s", ".", seconds), header: "Calendly-Webhook-Signature", hex: true, tolerance: minutes(3), body: `{"event":"invitee.created","created_at":"2026-03-14T15:09:26.000000Z","payload":{"uri":"u1"}}`, want: x("invitee.created", "*", "u1", now)},
		{provider: "docusign", sign: base64Body("X-DocuSign-Signature-1", ""), header: "X-DocuSign-Signature-1", body: `{"event":"envelope-sent","generatedDateTime":"2026-03-14T15:09:26.0Z","data":{"envelopeId":"e1"}}`, want: x("envelope-sent", "e1:envelope-sent:2026-03-14T15:09:26.0Z", "e1", now)},
		{provider: "dropbox", sign: hexBody("X-Dropbox-Signature", ""), header: "X-Dropbox-Signature", hex: true, body: `{"list_folder":{"accounts":["dbid:1"]}}`, want: x("list_folder", "", "")},
		{provider: "mux", sign: paired("Mux-Signature", "t=%s,v1=%s", ".", seconds), header: "Mux-Signature", hex: true, tolerance: minutes(5), body: `{"id":"m1","type":"video.asset.ready","created_at":"2026-03-14T15:09:26.000000Z","object":{"id":"a1"}}`, want: x("video.asset.ready", "m1", "a1", now)},

		{provider: "aws-sns", secrets: []string{}, config: map[string]any{"topicArn": "arn:aws:sns:us-east-1:1:t", "signingCertPem": ours().pem}, sign: signSNS, json: true, tolerance: time.Hour, body: snsBody, want: x("Notification", "m-1", "", now)},
		{provider: "azure-eventgrid", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("aeg-sas-key", s.key(wrong), "aeg-event-type", "Notification"), body
		}, header: "aeg-sas-key", open: true, body: `[{"id":"g1","eventType":"Microsoft.Storage.BlobCreated","eventTime":"2026-03-14T15:09:26Z","subject":"s1"}]`, want: x("Microsoft.Storage.BlobCreated", "g1", "s1", now)},
		{provider: "cloudevents", sign: func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
			return h("Authorization", "Bearer "+s.key(wrong), "ce-id", "c1", "ce-source", "/a", "ce-type", "com.a.b", "ce-time", "2026-03-14T15:09:26Z"), body
		}, header: "Authorization", open: true, want: x("com.a.b", "/a:c1", "", now)},
	}
	for _, s := range all {
		if s.secrets == nil {
			s.secrets = []string{testSecret}
		}
		if s.body == "" {
			s.body = objectBody
		}
	}
	return all
}

func readRandom(n int) ([]byte, error) {
	raw := make([]byte, n)
	_, err := rand.Read(raw)
	return raw, err
}
