// What an ordinary program does through go-redis 9, over RESP3 (its default) and RESP2. Usage: clients PORT
//
// A Redis 7.0 passes it too, and is the oracle for what it expects.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	bigBytes    = 8 << 20
	poolSize    = 8
	goroutines  = 32
	repetitions = 100
)

var ctx = context.Background()

// Where the server is, and how to speak to it: 0 is what a program that sets nothing gets, RESP3.
type place struct {
	port     string
	protocol int
}

func (server place) speaks() int {
	if server.protocol == 0 {
		return 3
	}
	return server.protocol
}

func (server place) open(change func(*redis.Options)) *redis.Client {
	options := redis.Options{
		Addr: "127.0.0.1:" + server.port, Protocol: server.protocol, DB: 3, PoolSize: poolSize, ClientName: "go-tests",
	}
	change(&options)
	return redis.NewClient(&options)
}

func unchanged(*redis.Options) {}

func must[T any](value T, err error) T {
	fine(err)
	return value
}

func equal[T comparable](found, wanted T) {
	if found != wanted {
		log.Panicf("%v is not %v", found, wanted)
	}
}

func shows(found any, wanted string) {
	equal(fmt.Sprint(found), wanted)
}

func fine(err error) {
	if err != nil {
		log.Panicf("unexpected error: %v", err)
	}
}

func missing(err error) {
	if !errors.Is(err, redis.Nil) {
		log.Panicf("a missing value gave %v", err)
	}
}

// The error comes from the server, and begins with the prefix.
func refused(err error, prefix string) {
	var fromServer redis.Error
	if !errors.As(err, &fromServer) || !strings.HasPrefix(err.Error(), prefix) {
		log.Panicf("%v does not begin with %q", err, prefix)
	}
}

func within(left, most time.Duration) {
	if left <= most-10*time.Second || left > most {
		log.Panicf("%v are left of %v", left, most)
	}
}

func strs(client *redis.Client) {
	equal(must(client.Set(ctx, "go:s", "first", 0).Result()), "OK")
	equal(must(client.SetNX(ctx, "go:s", "x", 0).Result()), false)
	equal(must(client.SetXX(ctx, "go:s", "second", time.Hour).Result()), true)
	equal(must(client.SetXX(ctx, "go:none", "x", 0).Result()), false)
	equal(must(client.GetSet(ctx, "go:s", "third").Result()), "second")
	equal(must(client.Append(ctx, "go:s", "!").Result()), 6)
	equal(must(client.StrLen(ctx, "go:s").Result()), 6)
	equal(must(client.GetRange(ctx, "go:s", 1, -2).Result()), "hird")
	equal(must(client.SetRange(ctx, "go:s", 4, "sty").Result()), 7)
	equal(must(client.Get(ctx, "go:s").Result()), "thirsty")
	missing(client.Get(ctx, "go:none").Err())

	equal(must(client.IncrBy(ctx, "go:n", 41).Result()), 41)
	equal(must(client.DecrBy(ctx, "go:n", 2).Result()), 39)
	equal(must(client.Get(ctx, "go:n").Uint64()), 39)
	equal(must(client.IncrByFloat(ctx, "go:f", 10.5).Result()), 10.5)
	equal(must(client.Get(ctx, "go:f").Float64()), 10.5)
	equal(must(client.MSet(ctx, "go:a", 1, "go:b", true).Result()), "OK")
	equal(must(client.MSetNX(ctx, "go:b", 3, "go:c", 3).Result()), false)
	shows(must(client.MGet(ctx, "go:a", "go:c", "go:b").Result()), "[1 <nil> 1]")
	equal(must(client.GetDel(ctx, "go:a").Result()), "1")
	missing(client.GetDel(ctx, "go:a").Err())
	equal(must(client.GetEx(ctx, "go:b", time.Minute).Result()), "1")
	within(must(client.TTL(ctx, "go:b").Result()), time.Minute)
	equal(must(client.GetEx(ctx, "go:b", 0).Result()), "1")
	equal(must(client.TTL(ctx, "go:b").Result()), -1)

	equal(must(client.MSet(ctx, "go:l1", "ohmytext", "go:l2", "mynewtext").Result()), "OK")
	query := redis.LCSQuery{Key1: "go:l1", Key2: "go:l2"}
	equal(must(client.LCS(ctx, &query).Result()).MatchString, "mytext")
	query.Len = true
	equal(must(client.LCS(ctx, &query).Result()).Len, 6)
	query = redis.LCSQuery{Key1: "go:l1", Key2: "go:l2", Idx: true, WithMatchLen: true, MinMatchLen: 4}
	shows(*must(client.LCS(ctx, &query).Result()), "{ [{{4 7} {5 8} 4}] 6}")
}

func setArgs(client *redis.Client) {
	set := func(value string, options redis.SetArgs) (string, error) {
		return client.SetArgs(ctx, "go:sa", value, options).Result()
	}
	_, err := set("a", redis.SetArgs{Mode: "XX"})
	missing(err)
	_, err = set("a", redis.SetArgs{Get: true, TTL: time.Minute})
	missing(err)
	equal(must(set("b", redis.SetArgs{Get: true, KeepTTL: true})), "a")
	within(must(client.TTL(ctx, "go:sa").Result()), time.Minute)
	// NX and GET together are Redis 7.0's.
	equal(must(set("c", redis.SetArgs{Mode: "NX", Get: true})), "b")
	equal(must(client.Get(ctx, "go:sa").Result()), "b")
	equal(must(set("d", redis.SetArgs{Mode: "XX", ExpireAt: time.Now().Add(time.Hour)})), "OK")
	within(must(client.PTTL(ctx, "go:sa").Result()), time.Hour)
	equal(must(set("e", redis.SetArgs{TTL: 90500 * time.Millisecond})), "OK")
	within(must(client.PTTL(ctx, "go:sa").Result()), 90500*time.Millisecond)
	equal(must(client.Set(ctx, "go:sa", "f", redis.KeepTTL).Result()), "OK")
	within(must(client.PTTL(ctx, "go:sa").Result()), 90500*time.Millisecond)
	_, err = set("g", redis.SetArgs{Mode: "IFEQ", MatchValue: "f"})
	refused(err, "ERR syntax error")
	refused(client.SetEx(ctx, "go:sa", "x", -time.Second).Err(), "ERR invalid expire time in 'setex' command")
}

func expiry(client *redis.Client) {
	equal(must(client.Set(ctx, "go:e", "x", 0).Result()), "OK")
	equal(must(client.TTL(ctx, "go:none").Result()), -2)
	equal(must(client.PTTL(ctx, "go:e").Result()), -1)
	equal(must(client.ExpireXX(ctx, "go:e", time.Minute).Result()), false)
	equal(must(client.ExpireGT(ctx, "go:e", time.Minute).Result()), false)
	equal(must(client.ExpireNX(ctx, "go:e", time.Minute).Result()), true)
	equal(must(client.ExpireNX(ctx, "go:e", time.Hour).Result()), false)
	equal(must(client.ExpireLT(ctx, "go:e", time.Hour).Result()), false)
	equal(must(client.ExpireGT(ctx, "go:e", time.Hour).Result()), true)
	equal(must(client.ExpireLT(ctx, "go:e", 2*time.Minute).Result()), true)
	equal(must(client.ExpireXX(ctx, "go:e", 3*time.Minute).Result()), true)
	within(must(client.TTL(ctx, "go:e").Result()), 3*time.Minute)
	equal(must(client.Persist(ctx, "go:e").Result()), true)
	equal(must(client.Persist(ctx, "go:e").Result()), false)
	equal(must(client.PExpire(ctx, "go:e", 70500*time.Millisecond).Result()), true)
	within(must(client.PTTL(ctx, "go:e").Result()), 70500*time.Millisecond)
	at := time.Now().Add(time.Hour)
	equal(must(client.ExpireAt(ctx, "go:e", at).Result()), true)
	equal(must(client.ExpireTime(ctx, "go:e").Result()), time.Duration(at.Unix())*time.Second)
	equal(must(client.PExpireAt(ctx, "go:e", at).Result()), true)
	equal(must(client.PExpireTime(ctx, "go:e").Result()), time.Duration(at.UnixMilli())*time.Millisecond)
	equal(must(client.PExpireAt(ctx, "go:e", time.Unix(1, 0)).Result()), true)
	missing(client.Get(ctx, "go:e").Err())
	equal(must(client.Expire(ctx, "go:e", time.Minute).Result()), false)
	refused(client.Do(ctx, "EXPIRE", "go:s", 10, "NX", "GT").Err(), "ERR NX and XX, GT or LT options at the same time")
}

type person struct {
	Name   string  `redis:"name"`
	Age    int     `redis:"age"`
	Height float64 `redis:"height"`
	Here   bool    `redis:"here"`
}

func hashes(client *redis.Client) {
	equal(must(client.HSet(ctx, "go:h", "one", 1, "two", "zwei").Result()), 2)
	equal(must(client.HSet(ctx, "go:h", map[string]any{"one": "eins", "three": "drei"}).Result()), 1)
	equal(must(client.HSetNX(ctx, "go:h", "one", "x").Result()), false)
	equal(must(client.HMSet(ctx, "go:h", "n", 1).Result()), true)
	equal(must(client.HIncrBy(ctx, "go:h", "n", 4).Result()), 5)
	equal(must(client.HIncrByFloat(ctx, "go:h", "f", 0.25).Result()), 0.25)
	shows(must(client.HGetAll(ctx, "go:h").Result()), "map[f:0.25 n:5 one:eins three:drei two:zwei]")
	shows(must(client.HGetAll(ctx, "go:none").Result()), "map[]")
	shows(must(client.HMGet(ctx, "go:h", "one", "none").Result()), "[eins <nil>]")
	missing(client.HGet(ctx, "go:h", "none").Err())
	names := must(client.HKeys(ctx, "go:h").Result())
	sort.Strings(names)
	shows(names, "[f n one three two]")
	equal(len(must(client.HVals(ctx, "go:h").Result())), 5)
	equal(must(client.HStrLen(ctx, "go:h", "three").Result()), 4)
	equal(must(client.HDel(ctx, "go:h", "n", "f", "none").Result()), 2)
	equal(must(client.HExists(ctx, "go:h", "n").Result()), false)
	equal(must(client.HLen(ctx, "go:h").Result()), 3)
	equal(len(must(client.HRandField(ctx, "go:h", -7).Result())), 7)
	pairs := must(client.HRandFieldWithValues(ctx, "go:h", 9).Result())
	sort.Slice(pairs, func(a, b int) bool { return pairs[a].Key < pairs[b].Key })
	shows(pairs, "[{one eins} {three drei} {two zwei}]")

	ada := person{Name: "Ada", Age: 36, Height: 1.65, Here: true}
	equal(must(client.HSet(ctx, "go:ada", ada).Result()), 4)
	var found person
	fine(client.HGetAll(ctx, "go:ada").Scan(&found))
	equal(found, ada)
	found = person{}
	fine(client.HMGet(ctx, "go:ada", "name", "here").Scan(&found))
	equal(found, person{Name: "Ada", Here: true})

	for index := 0; index < 1000; index++ {
		fine(client.HSet(ctx, "go:many", fmt.Sprintf("f%d", index), index).Err())
	}
	scanned := map[string]string{}
	fields := client.HScan(ctx, "go:many", 0, "f*", 50).Iterator()
	for fields.Next(ctx) {
		name := fields.Val()
		equal(fields.Next(ctx), true)
		scanned[name] = fields.Val()
	}
	fine(fields.Err())
	equal(len(scanned), 1000)
	equal(scanned["f999"], "999")
	// What came after Redis 7.0 is refused, in its words.
	refused(client.HScanNoValues(ctx, "go:many", 0, "", 10).Err(), "ERR syntax error")
	refused(client.HExpire(ctx, "go:many", time.Minute, "f1").Err(), "ERR unknown command 'HEXPIRE', with args beginning with: 'go:many' '60' 'FIELDS' '1' 'f1' ")
}

func keyspace(client *redis.Client) {
	equal(must(client.Rename(ctx, "go:b", "go:z").Result()), "OK")
	refused(client.Rename(ctx, "go:none", "go:z").Err(), "ERR no such key")
	equal(must(client.RenameNX(ctx, "go:z", "go:s").Result()), false)
	equal(must(client.Copy(ctx, "go:z", "go:zz", 3, false).Result()), 1)
	equal(must(client.Copy(ctx, "go:z", "go:zz", 3, false).Result()), 0)
	equal(must(client.Move(ctx, "go:zz", 4).Result()), true)
	equal(must(client.Exists(ctx, "go:z", "go:z", "go:zz").Result()), 2)
	equal(must(client.Touch(ctx, "go:z", "go:none").Result()), 1)
	equal(must(client.Type(ctx, "go:h").Result()), "hash")
	equal(must(client.Type(ctx, "go:none").Result()), "none")
	equal(must(client.ObjectEncoding(ctx, "go:n").Result()), "int")
	equal(must(client.ObjectIdleTime(ctx, "go:n").Result()) < time.Minute, true)
	equal(must(client.Unlink(ctx, "go:z", "go:none").Result()), 1)
	shows(must(client.Keys(ctx, "go:l?").Result()), "[go:l1 go:l2]")
	equal(strings.HasPrefix(must(client.RandomKey(ctx).Result()), "go:"), true)

	found := map[string]bool{}
	keys := client.ScanType(ctx, 0, "go:*", 10, "hash").Iterator()
	for keys.Next(ctx) {
		found[keys.Val()] = true
	}
	fine(keys.Err())
	shows(found, "map[go:ada:true go:h:true go:many:true]")
	refused(client.Do(ctx, "SCAN", 0, "COUNT", 0).Err(), "ERR syntax error")
}

func pipelines(client *redis.Client) {
	answers := must(client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for index := 0; index < 1000; index++ {
			pipe.Set(ctx, fmt.Sprintf("go:p:%d", index), index, 0)
		}
		pipe.Get(ctx, "go:p:999")
		return nil
	}))
	equal(len(answers), 1001)
	equal(answers[1000].(*redis.StringCmd).Val(), "999")

	// An error in the middle is that command's own.
	pipe := client.Pipeline()
	before, wrong, nothing, after := pipe.Incr(ctx, "go:m"), pipe.HGet(ctx, "go:m", "f"), pipe.Get(ctx, "go:none"), pipe.Incr(ctx, "go:m")
	_, err := pipe.Exec(ctx)
	refused(err, "WRONGTYPE ")
	equal(must(before.Result()), 1)
	refused(wrong.Err(), "WRONGTYPE Operation against a key holding the wrong kind of value")
	missing(nothing.Err())
	equal(must(after.Result()), 2)

	found := map[string]bool{}
	keys := client.Scan(ctx, 0, "go:p:*", 50).Iterator()
	for keys.Next(ctx) {
		found[keys.Val()] = true
	}
	fine(keys.Err())
	equal(len(found), 1000)
}

func transactions(client, other *redis.Client) {
	answers := must(client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Incr(ctx, "go:t")
		pipe.Expire(ctx, "go:t", time.Hour)
		pipe.HGetAll(ctx, "go:ada")
		pipe.Incr(ctx, "go:t")
		return nil
	}))
	equal(len(answers), 4)
	equal(answers[2].(*redis.MapStringStringCmd).Val()["name"], "Ada")
	equal(answers[3].(*redis.IntCmd).Val(), 2)

	// A command that fails does not undo the others; one that cannot be queued does.
	var first *redis.IntCmd
	_, err := client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		first = pipe.Incr(ctx, "go:t")
		pipe.HGet(ctx, "go:t", "f")
		return nil
	})
	refused(err, "WRONGTYPE ")
	equal(must(first.Result()), 3)
	_, err = client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Incr(ctx, "go:t")
		pipe.Do(ctx, "NOSUCHCOMMAND")
		return nil
	})
	refused(err, "EXECABORT Transaction discarded because of previous errors.")
	equal(must(client.Get(ctx, "go:t").Int()), 3)

	increment := func(key string, meanwhile func()) error {
		return client.Watch(ctx, func(tx *redis.Tx) error {
			now, err := tx.Get(ctx, key).Int64()
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			meanwhile()
			_, err = tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
				pipe.Set(ctx, key, now+1, 0)
				return nil
			})
			return err
		}, key)
	}
	fine(increment("go:w", func() {}))
	err = increment("go:w", func() { fine(other.Set(ctx, "go:w", "theirs", 0).Err()) })
	equal(errors.Is(err, redis.TxFailedErr), true)
	equal(must(client.Get(ctx, "go:w").Result()), "theirs")

	// Everyone's increment counts once, whoever had to try again.
	everywhere(func(int) {
		for {
			err := increment("go:race", func() {})
			if err == nil {
				return
			}
			equal(errors.Is(err, redis.TxFailedErr), true)
		}
	})
	equal(must(client.Get(ctx, "go:race").Int()), goroutines)
}

func everywhere(work func(int)) {
	var all sync.WaitGroup
	for index := 0; index < goroutines; index++ {
		all.Add(1)
		go func(index int) {
			defer all.Done()
			work(index)
		}(index)
	}
	all.Wait()
}

// Many goroutines share few connections; each gets the answers to its own questions.
func pools(client *redis.Client) {
	everywhere(func(mine int) {
		for index := 0; index < repetitions; index++ {
			text := fmt.Sprintf("%d of %d", index, mine)
			equal(must(client.Echo(ctx, text).Result()), text)
			fine(client.Incr(ctx, "go:together").Err())
			fine(client.HSet(ctx, "go:everyone", strconv.Itoa(mine), text).Err())
			equal(must(client.HGet(ctx, "go:everyone", strconv.Itoa(mine)).Result()), text)
		}
	})
	equal(must(client.Get(ctx, "go:together").Int()), goroutines*repetitions)
	equal(must(client.HLen(ctx, "go:everyone").Result()), goroutines)
	stats := client.PoolStats()
	equal(stats.TotalConns > 1 && stats.TotalConns <= poolSize, true)
	equal(stats.Timeouts, 0)
}

func timeouts(server place, other *redis.Client) {
	impatient := server.open(func(options *redis.Options) {
		options.ContextTimeoutEnabled, options.MaxRetries, options.PoolSize = true, -1, 1
	})
	defer impatient.Close()
	equal(must(impatient.Set(ctx, "go:late", "early", 0).Result()), "OK")

	equal(must(other.Do(ctx, "CLIENT", "PAUSE", 60000, "WRITE").Text()), "OK")
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err := impatient.Set(short, "go:late", "late", 0).Err()
	equal(errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded), true)
	// Reads go on, over another connection than the one whose answer is still to come.
	equal(must(impatient.Get(ctx, "go:late").Result()), "early")
	fine(other.ClientUnpause(ctx).Err())
	equal(must(impatient.Echo(ctx, "mine").Result()), "mine")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	equal(errors.Is(impatient.Ping(cancelled).Err(), context.Canceled), true)
}

func connections(client, other *redis.Client, protocol int) {
	conn := client.Conn()
	defer conn.Close()
	equal(must(conn.ClientGetName(ctx).Result()), "go-tests")
	equal(must(conn.ClientSetName(ctx, "renamed").Result()), true)
	equal(must(conn.ClientGetName(ctx).Result()), "renamed")
	id := must(conn.ClientID(ctx).Result())
	info := must(conn.ClientInfo(ctx).Result())
	equal(info.ID, id)
	equal(info.Name, "renamed")
	equal(info.DB, 3)
	equal(info.User, "default")
	equal(info.LastCmd, "client|info")
	equal(info.Resp, protocol)
	equal(info.Addr != "" && info.LAddr != "", true)
	equal(strings.Contains(must(client.ClientList(ctx).Result()), fmt.Sprintf("id=%d addr=%s ", id, info.Addr)), true)
	if must(client.InfoMap(ctx, "server").Result())["Server"]["reddb_version"] != "" {
		// CLIENT SETINFO is younger than Redis 7.0, and clients send it all the same.
		equal(strings.HasPrefix(info.LibName, "go-redis(,go"), true)
		equal(info.LibVer, redis.Version())
	}

	equal(must(conn.Select(ctx, 4).Result()), "OK")
	equal(must(conn.Del(ctx, "go:zz").Result()), 1)
	refused(conn.Select(ctx, 16).Err(), "ERR DB index is out of range")

	// A killed connection is replaced, and the command sent again.
	equal(must(other.ClientKillByFilter(ctx, "ID", strconv.FormatInt(id, 10)).Result()), 1)
	equal(must(client.Ping(ctx).Result()), "PONG")
	refused(other.ClientKill(ctx, "127.0.0.1:1").Err(), "ERR No such client")
}

func passwords(server place, client *redis.Client) {
	as := func(username, password string) error {
		guest := server.open(func(options *redis.Options) { options.Username, options.Password = username, password })
		defer guest.Close()
		return guest.Ping(ctx).Err()
	}
	// Without a password there is nothing to be wrong.
	fine(as("", ""))
	fine(client.ConfigSet(ctx, "requirepass", "secret").Err())
	fine(as("", "secret"))
	fine(as("default", "secret"))
	equal(redis.IsAuthError(as("", "")), true)
	equal(redis.IsAuthError(as("", "wrong")), true)
	equal(strings.Contains(as("nobody", "secret").Error(), "WRONGPASS invalid username-password pair or user is disabled."), true)
	// This connection was there before.
	fine(client.ConfigSet(ctx, "requirepass", "").Err())
}

// The push notifications that go-redis 9 asks for where a server has them ("auto"), or insists on ("enabled").
func maintenance(server place) {
	with := func(mode maintnotifications.Mode) error {
		guest := server.open(func(options *redis.Options) {
			options.MaintNotificationsConfig = &maintnotifications.Config{Mode: mode}
		})
		defer guest.Close()
		return guest.Ping(ctx).Err()
	}
	fine(with(maintnotifications.ModeAuto))
	fine(with(maintnotifications.ModeDisabled))
	if server.speaks() == 3 {
		err := with(maintnotifications.ModeEnabled)
		equal(err != nil && strings.Contains(err.Error(), "ERR unknown subcommand 'maint_notifications'. Try CLIENT HELP."), true)
	}
}

func bytesOfAllKinds(client *redis.Client) {
	var all [256]byte
	for index := range all {
		all[index] = byte(index)
	}
	key := "go:\x00\r\n\xff" + string(all[:])
	equal(must(client.Set(ctx, key, all[:], 0).Result()), "OK")
	equal(bytes.Equal(must(client.Get(ctx, key).Bytes()), all[:]), true)
	equal(must(client.HSet(ctx, "go:hb", key, all[:]).Result()), 1)
	equal(must(client.HGet(ctx, "go:hb", key).Result()), string(all[:]))
	equal(must(client.Set(ctx, "go:empty", "", 0).Result()), "OK")
	equal(must(client.Get(ctx, "go:empty").Result()), "")

	big := bytes.Repeat(all[:], bigBytes/len(all))
	equal(must(client.Set(ctx, "go:big", big, 0).Result()), "OK")
	equal(must(client.StrLen(ctx, "go:big").Result()), bigBytes)
	equal(bytes.Equal(must(client.Get(ctx, "go:big").Bytes()), big), true)
	equal(must(client.HSet(ctx, "go:hb", "big", big).Result()), 1)
	equal(must(client.HGetAll(ctx, "go:hb").Result())["big"] == string(big), true)
}

// Answers as they come, which a program gets from Do.
func raw(client *redis.Client, protocol int) {
	pairs := must(client.Do(ctx, "HGETALL", "go:ada").Result())
	config := must(client.Do(ctx, "CONFIG", "GET", "maxclients").Result())
	random := must(client.Do(ctx, "HRANDFIELD", "go:ada", 2, "WITHVALUES").Slice())
	hello := must(client.Do(ctx, "HELLO").Result())
	if protocol == 3 {
		equal(pairs.(map[any]any)["age"].(string), "36")
		equal(len(config.(map[any]any)), 1)
		equal(len(random), 2)
		equal(len(random[0].([]any)), 2)
		equal(hello.(map[any]any)["proto"].(int64), 3)
	} else {
		equal(len(pairs.([]any)), 8)
		equal(len(config.([]any)), 2)
		equal(len(random), 4)
		equal(hello.([]any)[5].(int64), 2)
	}
	equal(must(client.Do(ctx, "GET", "go:n").Int64()), 39)
	missing(client.Do(ctx, "GET", "go:none").Err())
	shows(must(client.Do(ctx, "MGET", "go:none", "go:n").Slice()), "[<nil> 39]")
}

func facts(client *redis.Client) {
	equal(must(client.Ping(ctx).Result()), "PONG")
	info := must(client.InfoMap(ctx).Result())
	equal(info["Server"]["redis_version"], "7.0.15")
	equal(info["Replication"]["role"], "master")
	equal(info["Persistence"]["loading"], "0")
	equal(strings.HasPrefix(info["Keyspace"]["db3"], "keys="), true)
	equal(must(client.DBSize(ctx).Result()) > 1000, true)
	now := must(client.Time(ctx).Result())
	equal(time.Since(now) < time.Hour && time.Since(now) > -time.Hour, true)
	equal(must(client.ConfigGet(ctx, "maxmemory-polic?").Result())["maxmemory-policy"], "noeviction")
	equal(must(client.LastSave(ctx).Result()) > 0, true)
	equal(must(client.Wait(ctx, 0, time.Second).Result()), 0)
	set := must(client.Command(ctx).Result())["set"]
	equal(set.Arity, -3)
	equal(set.FirstKeyPos, 1)
	equal(set.ReadOnly, false)
	shows(must(client.CommandGetKeys(ctx, "MSET", "a", 1, "b", 2).Result()), "[a b]")
	shows(must(client.CommandList(ctx, &redis.FilterBy{Pattern: "hgeta*"}).Result()), "[hgetall]")

	refused(client.HGet(ctx, "go:s", "f").Err(), "WRONGTYPE ")
	refused(client.Incr(ctx, "go:s").Err(), "ERR value is not an integer or out of range")
	refused(client.IncrByFloat(ctx, "go:s", 1).Err(), "ERR value is not a valid float")
	refused(client.HIncrBy(ctx, "go:h", "one", 1).Err(), "ERR hash value is not an integer")
	refused(client.Do(ctx, "NOSUCHCOMMAND", "x").Err(), "ERR unknown command 'NOSUCHCOMMAND', with args beginning with: 'x' ")
	refused(client.Do(ctx, "GET").Err(), "ERR wrong number of arguments for 'get' command")
	refused(client.Do(ctx, "CLIENT", "NOSUCH").Err(), "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.")
	refused(client.Do(ctx, "EXEC").Err(), "ERR EXEC without MULTI")
	refused(client.Do(ctx, "HELLO", 4).Err(), "NOPROTO unsupported protocol version")
}

// An error does not cost the connection.
func errorsAreFree(server place) {
	careful := server.open(func(options *redis.Options) { options.PoolSize, options.MaxRetries = 1, -1 })
	defer careful.Close()
	id := must(careful.ClientID(ctx).Result())
	facts(careful)
	equal(must(careful.ClientID(ctx).Result()), id)
}

func story(server place) {
	client, other := server.open(unchanged), server.open(unchanged)
	defer client.Close()
	defer other.Close()
	fine(client.FlushAll(ctx).Err())
	strs(client)
	setArgs(client)
	expiry(client)
	hashes(client)
	keyspace(client)
	pipelines(client)
	transactions(client, other)
	pools(client)
	timeouts(server, other)
	connections(client, other, server.speaks())
	passwords(server, client)
	maintenance(server)
	bytesOfAllKinds(client)
	raw(client, server.speaks())
	errorsAreFree(server)
	fmt.Printf("go-redis %s over RESP%d: ok\n", redis.Version(), server.speaks())
}

func main() {
	for _, protocol := range []int{0, 2} {
		story(place{port: os.Args[1], protocol: protocol})
	}
}
