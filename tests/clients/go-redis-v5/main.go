// What an ordinary program does through go-redis 5, the version that Debian packages. Usage: clients PORT
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"gopkg.in/redis.v5"
)

const bigBytes = 8 << 20

func must[T any](value T, err error) T {
	fine(err)
	return value
}

func equal[T comparable](found, wanted T) {
	if found != wanted {
		log.Fatalf("%v is not %v", found, wanted)
	}
}

func fine(err error) {
	if err != nil {
		log.Fatalf("unexpected error: %v", err)
	}
}

func missing(err error) {
	if err != redis.Nil {
		log.Fatalf("a missing value gave %v", err)
	}
}

func refused(err error, text string) {
	if err == nil || !strings.Contains(err.Error(), text) {
		log.Fatalf("%v does not say %q", err, text)
	}
}

func strs(client *redis.Client) {
	equal(must(client.Set("go:s", "first", 0).Result()), "OK")
	equal(must(client.SetNX("go:s", "x", 0).Result()), false)
	equal(must(client.SetXX("go:s", "second", time.Hour).Result()), true)
	equal(must(client.SetXX("go:none", "x", 0).Result()), false)
	equal(must(client.GetSet("go:s", "third").Result()), "second")
	equal(must(client.Append("go:s", "!").Result()), 6)
	equal(must(client.StrLen("go:s").Result()), 6)
	equal(must(client.GetRange("go:s", 1, -2).Result()), "hird")
	equal(must(client.SetRange("go:s", 4, "sty").Result()), 7)
	equal(must(client.Get("go:s").Result()), "thirsty")
	missing(client.Get("go:none").Err())

	equal(must(client.IncrBy("go:n", 41).Result()), 41)
	equal(must(client.Decr("go:n").Result()), 40)
	equal(must(client.IncrByFloat("go:f", 10.5).Result()), 10.5)
	equal(must(client.MSet("go:a", "1", "go:b", "2").Result()), "OK")
	equal(must(client.MSetNX("go:b", "3", "go:c", "3").Result()), false)
	values := must(client.MGet("go:a", "go:c", "go:b").Result())
	equal(fmt.Sprint(values), "[1 <nil> 2]")
	equal(must(client.Rename("go:a", "go:z").Result()), "OK")
	equal(must(client.Exists("go:a").Result()), false)
	equal(must(client.Type("go:z").Result()), "string")
	equal(must(client.Del("go:z", "go:b", "go:none").Result()), 2)
}

func expiry(client *redis.Client) {
	equal(must(client.Set("go:e", "x", 90*time.Second).Result()), "OK")
	left := must(client.PTTL("go:e").Result())
	equal(left > 80*time.Second && left <= 90*time.Second, true)
	equal(must(client.Persist("go:e").Result()), true)
	// Without an expiry the server answers -1, which go-redis gives in the command's unit.
	equal(must(client.PTTL("go:e").Result()), -time.Millisecond)
	equal(must(client.ExpireAt("go:e", time.Now().Add(time.Hour)).Result()), true)
	equal(must(client.TTL("go:e").Result()) > 59*time.Minute, true)
	equal(must(client.PExpireAt("go:e", time.Unix(1, 0)).Result()), true)
	missing(client.Get("go:e").Err())
	equal(must(client.Expire("go:e", time.Minute).Result()), false)
}

func hashes(client *redis.Client) {
	equal(must(client.HSet("go:h", "one", 1).Result()), true)
	equal(must(client.HSet("go:h", "one", "eins").Result()), false)
	equal(must(client.HSetNX("go:h", "one", "x").Result()), false)
	equal(must(client.HMSet("go:h", map[string]string{"two": "zwei", "three": "drei"}).Result()), "OK")
	equal(must(client.HIncrBy("go:h", "n", 5).Result()), 5)
	equal(must(client.HIncrByFloat("go:h", "f", 0.25).Result()), 0.25)
	fields := must(client.HGetAll("go:h").Result())
	equal(len(fields), 5)
	equal(fields["two"], "zwei")
	equal(fmt.Sprint(must(client.HMGet("go:h", "one", "none").Result())), "[eins <nil>]")
	missing(client.HGet("go:h", "none").Err())
	names := must(client.HKeys("go:h").Result())
	sort.Strings(names)
	equal(strings.Join(names, " "), "f n one three two")
	equal(must(client.HDel("go:h", "n", "f", "none").Result()), 2)
	equal(must(client.HExists("go:h", "n").Result()), false)
	equal(must(client.HLen("go:h").Result()), 3)
	pairs, cursor, err := client.HScan("go:h", 0, "t*", 10).Result()
	fine(err)
	equal(cursor, 0)
	equal(len(pairs), 4)
}

func pipelines(client *redis.Client) {
	answers := must(client.Pipelined(func(pipe *redis.Pipeline) error {
		for index := 0; index < 1000; index++ {
			pipe.Set(fmt.Sprintf("go:p:%d", index), index, 0)
		}
		pipe.Get("go:p:999")
		return nil
	}))
	equal(len(answers), 1001)
	equal(must(answers[1000].(*redis.StringCmd).Result()), "999")

	// An error in the middle is that command's own.
	pipe := client.Pipeline()
	before, wrong, after := pipe.Incr("go:m"), pipe.HGet("go:m", "f"), pipe.Incr("go:m")
	_, err := pipe.Exec()
	refused(err, "WRONGTYPE")
	equal(must(before.Result()), 1)
	refused(wrong.Err(), "WRONGTYPE")
	equal(must(after.Result()), 2)

	found := map[string]bool{}
	keys := client.Scan(0, "go:p:*", 50).Iterator()
	for keys.Next() {
		found[keys.Val()] = true
	}
	fine(keys.Err())
	equal(len(found), 1000)
}

func transactions(client, other *redis.Client) {
	must(client.TxPipelined(func(pipe *redis.Pipeline) error {
		pipe.Incr("go:t")
		pipe.Expire("go:t", time.Hour)
		pipe.Incr("go:t")
		return nil
	}))
	equal(must(client.Get("go:t").Int64()), 2)

	increment := func(meanwhile func()) error {
		return client.Watch(func(tx *redis.Tx) error {
			now, err := tx.Get("go:w").Int64()
			if err != nil && err != redis.Nil {
				return err
			}
			meanwhile()
			_, err = tx.Pipelined(func(pipe *redis.Pipeline) error {
				pipe.Set("go:w", strconv.FormatInt(now+1, 10), 0)
				return nil
			})
			return err
		}, "go:w")
	}
	fine(increment(func() {}))
	err := increment(func() { must(other.Set("go:w", "theirs", 0).Result()) })
	if err != redis.TxFailedErr {
		log.Fatalf("a lost race gave %v", err)
	}
	equal(must(client.Get("go:w").Result()), "theirs")
}

func bytesOfAllKinds(client *redis.Client) {
	var all [256]byte
	for index := range all {
		all[index] = byte(index)
	}
	key := "go:\x00\r\n\xff" + string(all[:])
	equal(must(client.Set(key, all[:], 0).Result()), "OK")
	equal(bytes.Equal(must(client.Get(key).Bytes()), all[:]), true)
	equal(must(client.HSet("go:hb", key, all[:]).Result()), true)
	equal(must(client.HGet("go:hb", key).Result()), string(all[:]))
	equal(must(client.Set("go:empty", "", 0).Result()), "OK")
	equal(must(client.Get("go:empty").Result()), "")

	big := bytes.Repeat(all[:], bigBytes/len(all))
	equal(must(client.Set("go:big", big, 0).Result()), "OK")
	equal(must(client.StrLen("go:big").Result()), bigBytes)
	equal(bytes.Equal(must(client.Get("go:big").Bytes()), big), true)
	equal(must(client.HSet("go:hb", "big", big).Result()), true)
	equal(must(client.HGetAll("go:hb").Result())["big"] == string(big), true)
}

func server(client *redis.Client) {
	equal(must(client.Ping().Result()), "PONG")
	equal(must(client.Echo("hello").Result()), "hello")
	equal(strings.Contains(must(client.Info().Result()), "redis_version:7.0.15"), true)
	equal(strings.Contains(must(client.Info("server").Result()), "reddb_version:"), true)
	equal(must(client.DbSize().Result()) > 0, true)

	refused(client.HGet("go:s", "f").Err(), "WRONGTYPE")
	refused(client.Incr("go:s").Err(), "ERR value is not an integer")
	unknown := redis.NewCmd("NOSUCHCOMMAND", "x")
	refused(client.Process(unknown), "ERR unknown command")
	arity := redis.NewCmd("GET")
	refused(client.Process(arity), "ERR wrong number of arguments")
	// An error does not cost the connection: the pool has opened no other.
	equal(must(client.Ping().Result()), "PONG")
	equal(client.PoolStats().TotalConns, 1)
}

func main() {
	options := &redis.Options{Addr: "127.0.0.1:" + os.Args[1], DB: 3, PoolSize: 1, ReadTimeout: time.Minute}
	client, other := redis.NewClient(options), redis.NewClient(options)
	defer client.Close()
	defer other.Close()
	must(client.FlushAll().Result())
	strs(client)
	expiry(client)
	hashes(client)
	pipelines(client)
	transactions(client, other)
	bytesOfAllKinds(client)
	server(client)
	fmt.Println("go-redis 5 over RESP2: ok")
}
