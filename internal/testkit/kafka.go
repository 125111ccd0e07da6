package testkit

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka is a cluster that speaks Kafka's protocol.
type Kafka struct {
	Hosts  string      // with ports, as in a URL
	Client *kgo.Client // for the test's own use
}

// NewKafka connects to the Kafka that HOOKGRAPH_TEST_KAFKA_URL names, such as
// kafka://127.0.0.1:9092, else to a stand-in of three brokers inside the test.
func NewKafka(t testing.TB) *Kafka {
	t.Helper()
	if text := os.Getenv("HOOKGRAPH_TEST_KAFKA_URL"); text != "" {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "kafka" {
			t.Fatal("HOOKGRAPH_TEST_KAFKA_URL is not a URL such as kafka://127.0.0.1:9092")
		}
		return connectKafka(t, u.Host)
	}
	return connectKafka(t, strings.Join(KafkaCluster(t).ListenAddrs(), ","))
}

// KafkaCluster starts a stand-in for Kafka inside the test.
func KafkaCluster(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatalf("start a stand-in for Kafka: %v", err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func connectKafka(t testing.TB, hosts string) *Kafka {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(hosts, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &Kafka{Hosts: hosts, Client: client}
}

// URL returns that of a topic.
func (k *Kafka) URL(topic string) string { return "kafka://" + k.Hosts + "/" + topic }

// Topic makes a topic that is deleted when the test ends, and returns its name.
func (k *Kafka) Topic(t testing.TB, partitions int32) string {
	t.Helper()
	name := "hookgraph-test-" + strings.ToLower(rand.Text()[:12])
	k.MakeTopic(t, name, partitions)
	t.Cleanup(func() { k.deleteTopic(t, name) })
	return name
}

// MakeTopic makes a topic.
func (k *Kafka) MakeTopic(t testing.TB, name string, partitions int32) {
	t.Helper()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, -1
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = append(create.Topics, topic)
	answer, err := create.RequestWith(t.Context(), k.Client)
	if err == nil {
		err = kerr.ErrorForCode(answer.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("make the topic %s: %v", name, err)
	}
}

func (k *Kafka) deleteTopic(t testing.TB, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.TopicNames, remove.Topics = []string{name}, append(remove.Topics, topic)
	if _, err := remove.RequestWith(ctx, k.Client); err != nil {
		t.Errorf("delete the topic %s: %v", name, err)
	}
}

// Committed returns the sum of what a group has committed of a topic, over its partitions;
// -1 where there is no such group.
func (k *Kafka) Committed(t testing.TB, group, topic string, partitions int32) (sum int64) {
	t.Helper()
	of := kmsg.NewOffsetFetchRequestGroupTopic()
	of.Topic = topic
	for n := range partitions {
		of.Partitions = append(of.Partitions, n)
	}
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group, one.Topics = group, append(one.Topics, of)
	ask := kmsg.NewPtrOffsetFetchRequest()
	ask.Groups = append(ask.Groups, one)
	answer, err := ask.RequestWith(t.Context(), k.Client)
	if err != nil || len(answer.Groups) != 1 {
		t.Fatalf("ask for what %s has committed: %v", group, err)
	}
	if kerr.ErrorForCode(answer.Groups[0].ErrorCode) == kerr.GroupIDNotFound { //nolint:errorlint // codes are these values
		return -1
	}
	known := false
	for _, topic := range answer.Groups[0].Topics {
		for _, partition := range topic.Partitions {
			if partition.Offset >= 0 {
				sum, known = sum+partition.Offset, true
			}
		}
	}
	if !known {
		return -1
	}
	return sum
}

// Send has the cluster keep messages.
func (k *Kafka) Send(t testing.TB, records ...*kgo.Record) {
	t.Helper()
	if err := k.Client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("send to Kafka: %v", err)
	}
}

// Kept returns what a topic of one partition has, once that is so many.
func (k *Kafka) Kept(t testing.TB, topic string, n int) []*kgo.Record {
	t.Helper()
	reader, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(k.Hosts, ",")...), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n && ctx.Err() == nil {
		all = append(all, reader.PollFetches(ctx).Records()...)
	}
	if len(all) < n {
		t.Fatalf("the topic has %d messages, not %d", len(all), n)
	}
	return all
}
