// What an ordinary program does through go-redis, over RESP2 and RESP3. Usage: go run . PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var ctx = context.Background()

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatalf("unexpected error: %v", err)
	}
	return value
}

func equal[T comparable](found, wanted T) {
	if found != wanted {
		log.Fatalf("%v is not %v", found, wanted)
	}
}

func refused(err error, text string) {
	if err == nil || !strings.Contains(err.Error(), text) {
		log.Fatalf("%v does not say %q", err, text)
	}
}

func story(port string, protocol int) {
	options := &redis.Options{Addr: "127.0.0.1:" + port, Protocol: protocol, MaxRetries: -1}
	client, other := redis.NewClient(options), redis.NewClient(options)
	defer client.Close()
	defer other.Close()
	must(client.FlushAll(ctx).Result())

	equal(must(client.Set(ctx, "go:s", "\x00\xff\r\n", 0).Result()), "OK")
	equal(must(client.Get(ctx, "go:s").Result()), "\x00\xff\r\n")
	if _, err := client.Get(ctx, "go:none").Result(); !errors.Is(err, redis.Nil) {
		log.Fatalf("a missing key gave %v", err)
	}
	equal(must(client.SetNX(ctx, "go:s", "x", 0).Result()), false)
	equal(must(client.IncrBy(ctx, "go:n", 41).Result()), 41)
	equal(must(client.Set(ctx, "go:e", "x", time.Minute).Result()), "OK")
	equal(must(client.PTTL(ctx, "go:e").Result()) > 0, true)

	equal(must(client.HSet(ctx, "go:h", "one", 1, "two", "zwei").Result()), 2)
	fields := must(client.HGetAll(ctx, "go:h").Result())
	equal(len(fields), 2)
	equal(fields["two"], "zwei")

	answers := must(client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for index := 0; index < 1000; index++ {
			pipe.Set(ctx, fmt.Sprintf("go:p:%d", index), index, 0)
		}
		return nil
	}))
	equal(len(answers), 1000)

	must(client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Incr(ctx, "go:t")
		pipe.Incr(ctx, "go:t")
		return nil
	}))
	equal(must(client.Get(ctx, "go:t").Int()), 2)
	err := client.Watch(ctx, func(tx *redis.Tx) error {
		must(other.Set(ctx, "go:w", "theirs", 0).Result())
		_, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.Set(ctx, "go:w", "mine", 0)
			return nil
		})
		return err
	}, "go:w")
	if !errors.Is(err, redis.TxFailedErr) {
		log.Fatalf("a lost race gave %v", err)
	}

	found := map[string]bool{}
	keys := client.Scan(ctx, 0, "go:p:*", 50).Iterator()
	for keys.Next(ctx) {
		found[keys.Val()] = true
	}
	equal(keys.Err(), nil)
	equal(len(found), 1000)

	refused(client.HGet(ctx, "go:s", "f").Err(), "WRONGTYPE")
	refused(client.Do(ctx, "NOSUCHCOMMAND").Err(), "unknown command")
	equal(strings.Contains(must(client.Info(ctx).Result()), "redis_version:7.0.15"), true)
	fmt.Printf("go-redis %s over RESP%d: ok\n", redis.Version(), protocol)
}

func main() {
	for _, protocol := range []int{2, 3} {
		story(os.Args[1], protocol)
	}
}
