package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"railbus"
)

const wordsBytes = 4096

// words are two words on lines of their own, shared with another process: no round trip is faster.
type words struct{ there, back *atomic.Uint64 }

func openWords(path string) (words, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return words{}, err
	}
	defer file.Close()
	if err := file.Truncate(wordsBytes); err != nil {
		return words{}, err
	}
	memory, err := syscall.Mmap(int(file.Fd()), 0, wordsBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return words{}, err
	}
	at := func(offset int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&memory[offset])) }
	return words{at(0), at(1024)}, nil
}

func await(word *atomic.Uint64, value uint64) {
	for word.Load() != value {
	}
}

// processors are those on which this program may run, before it is tied to one: the other process would
// inherit that.
var processors, _ = railbus.Processors()

// pin ties this goroutine to a processor of its own, if there are two.
func pin() (unpin func(), err error) {
	if given, is := os.LookupEnv("RAILBUS_SPEED_PROCESSOR"); is {
		processor, err := strconv.Atoi(given)
		if err != nil {
			return nil, err
		}
		return railbus.Pin(processor)
	}
	if len(processors) < 2 {
		return func() {}, nil
	}
	return railbus.Pin(processors[0])
}

// channels are the two streams between the processes.
func channel(name string) (*railbus.Channel, error) {
	bus, err := railbus.Open("speed")
	if err != nil {
		return nil, err
	}
	defer bus.Close()
	return bus.CreateOrAttach(name, railbus.ChannelOptions{Kind: railbus.Stream, CapacityBytes: 1 << 20})
}

var spin = railbus.Wait{Mode: railbus.WaitSpin}

func sendTo(name string) (*railbus.Publisher, error) {
	channel, err := channel(name)
	if err != nil {
		return nil, err
	}
	defer channel.Close()
	return channel.Publisher(railbus.SenderOptions{Wait: spin})
}

func receiveFrom(name string) (*railbus.Subscriber, error) {
	channel, err := channel(name)
	if err != nil {
		return nil, err
	}
	defer channel.Close()
	return channel.Subscriber(railbus.SubscriberOptions{Wait: spin})
}

// withPeer runs while another process of this program plays a part; that one is killed in the end.
func withPeer(part string, run func() error) error {
	command := exec.Command("/proc/self/exe", "peer", part)
	command.Stderr = os.Stderr
	if len(processors) > 1 {
		command.Env = append(os.Environ(), fmt.Sprintf("RAILBUS_SPEED_PROCESSOR=%d", processors[1]))
	}
	// This goroutine keeps its thread, whose end would be the signal.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	defer command.Wait()
	defer command.Process.Kill()
	if _, err := output.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the other process: %w", err)
	}
	return run()
}

// peer plays a part in another process, until it is killed.
func peer() error {
	if _, err := pin(); err != nil {
		return err
	}
	switch part := os.Args[2]; part {
	case "words":
		words, err := openWords(os.Getenv("RAILBUS_DIR") + "/words")
		if err != nil {
			return err
		}
		fmt.Print("r")
		for value := uint64(1); ; value++ {
			await(words.there, value)
			words.back.Store(value)
		}
	case "answer":
		subscriber, err := receiveFrom("there")
		if err != nil {
			return err
		}
		publisher, err := sendTo("back")
		if err != nil {
			return err
		}
		fmt.Print("r")
		for {
			event, err := subscriber.Recv(background)
			if err != nil {
				return err
			}
			if _, err := publisher.Publish(background, event.Payload()); err != nil {
				return err
			}
		}
	default:
		return flood(part)
	}
}
