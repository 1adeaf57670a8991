package main

import (
	"sync"
	"time"

	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

var recipeChecks = []check{
	{"recipe: barrier", func(e *env) {
		barrier := recipe.NewBarrier(e.client, e.prefix+"b")
		e.must(barrier.Hold())
		passed := make(chan error, 3)
		for range 3 {
			client := e.another()
			defer client.Close()
			go func() { passed <- recipe.NewBarrier(client, e.prefix+"b").Wait() }()
		}
		select {
		case <-passed:
			e.failf("one passed a held barrier")
		case <-time.After(300 * time.Millisecond):
		}
		e.must(barrier.Release())
		for range 3 {
			e.must(<-passed)
		}
	}},
	{"recipe: double barrier", func(e *env) {
		const count = 3
		var mutex sync.Mutex
		entered := 0
		errors := make(chan error, 2*count)
		left := make(chan int, count)
		for range count {
			barrier := recipe.NewDoubleBarrier(e.session(), e.prefix+"d", count)
			go func() {
				errors <- barrier.Enter()
				mutex.Lock()
				entered++
				mutex.Unlock()
				errors <- barrier.Leave()
				mutex.Lock()
				left <- entered
				mutex.Unlock()
			}()
		}
		for range 2 * count {
			e.must(<-errors)
		}
		for range count {
			e.equal("all had entered before one left", <-left, count)
		}
	}},
	{"recipe: queue", func(e *env) {
		queue := recipe.NewQueue(e.client, e.prefix+"q")
		for _, value := range []string{"1", "2", "3"} {
			e.must(queue.Enqueue(value))
			time.Sleep(2 * time.Millisecond) // its keys are times
		}
		for _, want := range []string{"1", "2", "3"} {
			got, err := queue.Dequeue()
			e.must(err)
			e.equal("value", got, want)
		}
	}},
	{"recipe: queue that is waited for", func(e *env) {
		client := e.another()
		defer client.Close()
		got := make(chan string, 1)
		go func() {
			value, _ := recipe.NewQueue(client, e.prefix+"q").Dequeue()
			got <- value
		}()
		time.Sleep(300 * time.Millisecond)
		e.must(recipe.NewQueue(e.client, e.prefix+"q").Enqueue("late"))
		e.equal("value", <-got, "late")
	}},
	{"recipe: priority queue", func(e *env) {
		queue := recipe.NewPriorityQueue(e.client, e.prefix+"p")
		for value, priority := range map[string]uint16{"low": 9, "high": 1, "middle": 5} {
			e.must(queue.Enqueue(value, priority))
		}
		for _, want := range []string{"high", "middle", "low"} {
			got, err := queue.Dequeue()
			e.must(err)
			e.equal("value", got, want)
		}
	}},
	{"recipe: read-write mutex", func(e *env) {
		reader, second := recipe.NewRWMutex(e.session(), e.prefix+"rw"), recipe.NewRWMutex(e.session(), e.prefix+"rw")
		writer := recipe.NewRWMutex(e.session(), e.prefix+"rw")
		e.must(reader.RLock())
		e.must(second.RLock())
		locked := make(chan error, 1)
		go func() { locked <- writer.Lock() }()
		select {
		case <-locked:
			e.failf("a writer got in beside readers")
		case <-time.After(300 * time.Millisecond):
		}
		e.must(reader.RUnlock())
		e.must(second.RUnlock())
		e.must(<-locked)
		e.must(writer.Unlock())
	}},
}
